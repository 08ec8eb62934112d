"""Supervised finetuning of a backbone by tasks (ViSFT): heads first, then additions to the backbone, jointly."""
