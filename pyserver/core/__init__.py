"""The core role: the engine's process, and in it the control plane that starts and watches models.

`role` wires everything; `supervisor_link`, `frontends` and `instance_process` are the three
conversations; `model_loader` loads and unloads, `served_version` keeps a loaded version alive.
"""
