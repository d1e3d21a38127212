"""The functions of `glassprop.files` by the name that they had before; it adds nothing."""

from glassprop.files import check_apart, check_writable, missing_file, write_atomically

__all__ = ["check_apart", "check_writable", "missing_file", "write_atomically"]
