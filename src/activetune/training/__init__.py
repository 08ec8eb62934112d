"""What trains a network, whatever the recipe: jobs, batches, courses, the one loop."""
