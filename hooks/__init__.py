"""Where Model Stream holds on to ComfyUI: one seam a file, nothing else in the package knows ComfyUI.

``boot`` runs before ComfyUI imports torch and puts on what lists and resolves names; ``install`` runs when the
extension is imported and puts on the rest.  Every seam checks the shape of what it wraps, calls through for
everything that is not ours, and can be taken off again (see ``seam``).
"""
