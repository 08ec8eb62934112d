"""Pools that lie elsewhere, reached by fsspec: S3 and its like, Hugging Face's hub, HTTP."""
