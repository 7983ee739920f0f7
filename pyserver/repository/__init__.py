"""Model repositories: what lies in their folders, and the state of every model version.

`scan` reads folders, `lifecycle` has the state machine of one version, `registry` all models.
Nothing here starts a process or knows how a model is run: that is the core role's part.
"""
