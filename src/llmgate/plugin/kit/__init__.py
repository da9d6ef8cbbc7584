"""What several surfaces need and none should write again."""
