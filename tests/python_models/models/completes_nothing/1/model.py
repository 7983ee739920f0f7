"""A model that cannot be loaded."""


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        return None

    def execute(self, requests):
        pass
