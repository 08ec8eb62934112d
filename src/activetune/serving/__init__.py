"""HTTP on this machine alone: the guards that every server has, and the endpoint that answers with predictions."""
