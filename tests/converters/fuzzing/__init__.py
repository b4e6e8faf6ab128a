"""Random ONNX graphs and broken ONNX files, and what must hold of every one of them."""
