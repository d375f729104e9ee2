"""What one sees of a crystal: recipes, augmentations, rendered pictures."""
