"""A model that cannot be loaded."""


class Model:
    pass
