"""What the command evaluate is made of: weights, images, attacks, localisation, measures."""
