"""Logits of model and adapter folders by transformers and PEFT. Reads one JSON request on stdin, answers with one line."""

import json
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForImageTextToText

request = json.load(sys.stdin)
ids = torch.tensor([request["ids"]])


def load(folder):
    return AutoModelForImageTextToText.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", local_files_only=True
    ).eval()


def logits(model):
    with torch.no_grad():
        return model(input_ids=ids).logits[0].flatten().tolist()


answer = {"model": logits(load(request["model"])), "merged": logits(load(request["merged"]))}
answer["adapter"] = logits(PeftModel.from_pretrained(load(request["model"]), request["adapter"]))

# The other direction: an adapter with weights everywhere, written by PEFT.
torch.manual_seed(0)
theirs = get_peft_model(
    load(request["model"]),
    LoraConfig(r=3, lora_alpha=5, use_rslora=True, target_modules="all-linear", init_lora_weights=False),
)
theirs.save_pretrained(request["theirs"])
answer["theirs"] = logits(theirs.eval())
print(json.dumps(answer))
