"""Small studies of what mixing does to a model: experiments of the papers, and its accuracy."""
