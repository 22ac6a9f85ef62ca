"""Image models: CNN, ResNet and VGG."""
