"""Integer graphs: what activations hold, what every operator becomes, and what is mended before."""
