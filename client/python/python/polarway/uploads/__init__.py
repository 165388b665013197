"""What becomes of rows before they are sent: how frames, records and JSON are made into Arrow, chunk by chunk.

pyarrow is not loaded before an upload that needs it: the modules have it from `_pyarrow`, as an argument.
"""
