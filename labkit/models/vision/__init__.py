"""Models of pictures: CNN, ResNet and VGG."""
