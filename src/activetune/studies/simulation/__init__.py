"""Labelled pool -> learning curves of selectors x recipes x budgets x seeds."""
