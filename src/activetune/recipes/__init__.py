"""Recipes: how a model is made from a backbone and labels; one module a recipe (``training/recipe.py`` finds them)."""
