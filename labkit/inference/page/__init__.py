"""A page that answers in a browser without a network: ONNX Runtime for the web, a model and a form in one file."""
