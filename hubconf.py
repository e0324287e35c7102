"""For `torch.hub.load("OWNER/REPOSITORY", "bagnet33", pretrained=True)`: the published sizes, as `bagnet.load` has them."""

dependencies = ["torch", "torchvision", "timm", "numpy", "PIL", "safetensors"]


def _entry(name):  # type: ignore[no-untyped-def]
    def build(pretrained=False, **words):  # type: ignore[no-untyped-def]
        import sys
        from pathlib import Path

        sys.path.insert(0, str(Path(__file__).parent / "src"))  # torch.hub fetches the repository, and installs nothing
        try:
            import bagnet
        finally:
            sys.path.pop(0)
        if not pretrained:
            return bagnet.create(name, **words)
        return bagnet.load(f"{name}.{'v2' if name.endswith('_padded') else 'orig'}_in1k", **words)

    build.__doc__ = f"{name}: the published weights where `pretrained`; other words as bagnet.load or bagnet.create has them."
    return build


bagnet9, bagnet17, bagnet33 = (_entry(name) for name in ("bagnet9", "bagnet17", "bagnet33"))
bagnet9_padded, bagnet17_padded, bagnet33_padded = (_entry(f"{name}_padded") for name in ("bagnet9", "bagnet17", "bagnet33"))
