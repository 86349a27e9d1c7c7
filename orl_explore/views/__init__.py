"""Views: what is drawn at random of an image, and three ways to draw it."""
