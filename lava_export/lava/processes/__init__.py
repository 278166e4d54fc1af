"""Lava processes of the batched mode, each in its own folder.

To find the models of a process, Lava executes every Python file in the folder of its module:
a folder holds one process and its model, and nothing else.
"""
