"""The way to the backends: a transparent streaming relay over replicas, health, and one HTTP engine seam."""
