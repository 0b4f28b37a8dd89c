"""A stand-in for the Hugging Face Hub: what an upload sends, and what is there before it."""

from huggingface_hub import ModelCard
from huggingface_hub.errors import EntryNotFoundError


class Hub:
    """The calls that uploading makes, answered without a network."""

    def __init__(self, monkeypatch, card=None):
        self.card, self.sent = card, {}
        hub = "transformers.utils.hub"
        monkeypatch.setattr(f"{hub}.ModelCard.load", self.load)
        for module in (hub, "transformers.configuration_utils"):
            monkeypatch.setattr(f"{module}.hf_api", lambda: self)

    def load(self, *_, **__):
        if self.card is None:
            raise EntryNotFoundError("no card")
        return ModelCard(self.card)

    def create_repo(self, repo_id, **_):
        return type("Url", (), {"repo_id": repo_id})()

    def create_branch(self, *_, **__):
        pass

    def create_commit(self, repo_id, operations, **_):
        for operation in operations:
            with operation.as_file() as file:
                self.sent[operation.path_in_repo] = file.read()

    def saved_to(self, folder):
        """Write what was sent into a folder."""
        for name, content in self.sent.items():
            (folder / name).write_bytes(content)
