"""How a transfer behaves beside something that must not wait for it, as a start of ComfyUI is.

What makes imports slow is not the bytes: every receive takes the interpreter's lock, and connections that take turns at it
add up.  The threads keep their niceness: a thread that lowers its own hands that on to every thread that it starts.
"""

from __future__ import annotations

CONNECTIONS = 1
"""of a bucket.  It fills 2 Gbit/s from a near server; over a long way S3 gives about 90 MB/s on it, for as long as imports take"""
