"""What cached features tell about a classifier and its data: cross-validation, learning curves, wrong labels."""
