"""`pyserver check` and `pyserver config`: what is wrong with a model repository, said before it is
served.

The way through, in checking.py: text → a tree that knows its lines (syntax.py, config_text.py) →
the rules of pyserver.config (rules.py, places.py) → what lies in the folder (folder.py) → the
model's own signature, from a process of its own (describing.py, signature.py) → how ensembles fit
(ensembles.py) → one request through a private server (private_server.py, synthetic.py). What was
found is a list of `Finding`s (findings.py). `complete_config.py` writes the config that the server
would use.

Nothing here imports a model's code or a framework: that happens in processes that are ended again.
"""
