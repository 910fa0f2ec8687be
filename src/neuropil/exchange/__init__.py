"""Networks for other programs, and networks from them: bioimage.io models, and programs of `torch.export`."""
