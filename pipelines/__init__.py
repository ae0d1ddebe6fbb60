"""What happens to a sample before an encoder sees it: sources, decoding, order, stream, operators, cuts."""
