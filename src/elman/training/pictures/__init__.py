"""What is drawn of a training and of what models make of their data, by matplotlib, as PNG files."""
