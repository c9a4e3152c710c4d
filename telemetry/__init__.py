"""What people and machines see of the running extension; for now, logs.

Subscribes to `storage.events.EventBus` and to nothing else.  Only ``hooks`` imports this room, to start and stop
it: everything below it merely emits events and would work the same without it.
"""
