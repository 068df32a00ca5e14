"""Several animals, one space: alignment, and decoding in an animal from the data of others."""

if "." not in __name__:
    raise ImportError("import mitral.align, not 'align': these folders are parts of the package mitral.")
