"""Telling what went wrong in a user's model.py: the exception, and the frames of its own code."""

from __future__ import annotations

from types import TracebackType


def describe_error(error: BaseException) -> str:
    """The exception and where it was raised, in the shape that Triton's clients know:

        ValueError: what it says

        At:
          /models/m/1/model.py(12): helper
          /models/m/1/model.py(20): execute

    Frames are the innermost first; ours are left out.
    """
    text = str(error)
    told = f"{type(error).__name__}: {text}" if text else type(error).__name__
    frames = _frames(error.__traceback__)
    if not frames:
        return text if type(error).__module__.startswith("pyserver.") else told
    return "\n".join([told, "", "At:", *frames, ""])


def _frames(traceback: TracebackType | None) -> list[str]:
    lines: list[str] = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        module = traceback.tb_frame.f_globals.get("__name__", "")
        ours = module.startswith(("pyserver.", "importlib.")) or code.co_filename.startswith("<")
        if not ours:
            lines.append(f"  {code.co_filename}({traceback.tb_lineno}): {code.co_name}")
        traceback = traceback.tb_next
    return lines[::-1]
