"""A model for other programs: ONNX, torch.export, and the layout of a hub."""
