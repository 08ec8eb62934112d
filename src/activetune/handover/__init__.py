"""What leaves for other programs: answers in their formats, a model as ONNX, torch.export and the layout of a hub."""
