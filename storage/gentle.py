"""How a transfer behaves beside something that must not wait for it, as a start of ComfyUI is.

What makes imports slow is not the bytes: every receive takes the interpreter's lock, and connections that take turns at it
add up.  The threads keep their niceness: a thread that lowers its own hands that on to every thread that it starts.
"""

from __future__ import annotations

CONNECTIONS = 2
"""S3 gives about 90 MB/s each; one fills 2 Gbit/s of a near server"""
