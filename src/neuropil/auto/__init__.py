"""Recipes chosen from the data: `facts` measures, `choose` decides, each with its reason, `recipe` writes."""
