"""What a trained network is worth: protocols, measures, figures, reports."""
