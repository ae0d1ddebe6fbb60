"""The page's sections, one idea a file: each is a function of a run that returns a Section."""
