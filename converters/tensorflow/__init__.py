"""TensorFlow in a process of its own, asked over a pipe: `process` is this side of it, `child` the other.

TensorFlow takes seconds to import, hundreds of megabytes to keep, writes to the terminal and may crash on
a bad file. So only modules that run in the child import it, and only inside functions; the child loads a
model, converts it, and runs it as the reference. Nothing of a model file is executed as Python there.
"""
