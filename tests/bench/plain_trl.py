"""DPO or KTO as TRL's documentation writes it: ``python -m tests.bench.plain_trl RUN_DIR``. Nothing of ours in it.

Rows and settings are those of an engine run's folder, and so is where the adapter goes. With ``loss`` behind the folder
it prints the loss that the adapter came to.
"""

import json
import sys
from pathlib import Path
from typing import Any


def main(folder: Path) -> None:
    import torch
    from datasets import Dataset
    from peft import LoraConfig, PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer

    spec: dict[str, Any] = json.loads((folder / "spec.json").read_text())
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    kto = spec["method"] == "kto"
    config, kind = (KTOConfig, KTOTrainer) if kto else (DPOConfig, DPOTrainer)
    dataset = Dataset.from_list([_unpaired(row) if kto else _paired(row) for row in rows])
    args = config(
        output_dir=str(folder / "work"),
        beta=spec["beta"],
        learning_rate=spec["learning_rate"],
        num_train_epochs=spec["epochs"],
        per_device_train_batch_size=spec["batch_size"],
        gradient_accumulation_steps=spec["gradient_accumulation"],
        max_length=spec["max_length"],
        warmup_steps=spec["warmup_ratio"],
        lr_scheduler_type=spec["lr_scheduler"],
        weight_decay=spec["weight_decay"],
        max_grad_norm=spec["max_grad_norm"],
        gradient_checkpointing=spec["gradient_checkpointing"],
        seed=spec["seed"],
        use_cpu=True,
        bf16=False,
        save_steps=spec["save_every"],
        save_total_limit=spec["save_total_limit"],
        report_to=[],
    )
    model: Any = AutoModelForCausalLM.from_pretrained(spec["model"], dtype=torch.float32)
    lora = LoraConfig(r=spec["lora_r"], lora_alpha=spec["lora_alpha"], target_modules="all-linear")
    if spec["start_adapter"]:
        model = PeftModel.from_pretrained(model, spec["start_adapter"], is_trainable=True)
    trainer = kind(
        model=model,
        args=args,
        train_dataset=dataset,
        processing_class=AutoTokenizer.from_pretrained(spec["model"]),
        peft_config=None if spec["start_adapter"] else lora,
    )
    if spec["start_adapter"]:
        trainer.model.delete_adapter("ref")  # the reference is the base in every round
    trainer.train()
    trainer.model.save_pretrained(str(folder / "adapter"))


def _paired(row: dict[str, Any]) -> dict[str, Any]:
    answers = {side: [{"role": "assistant", "content": row[side]}] for side in ("chosen", "rejected")}
    return {"prompt": row["messages"], **answers}


def _unpaired(row: dict[str, Any]) -> dict[str, Any]:
    answer = [{"role": "assistant", "content": row["completion"]}]
    return {"prompt": row["messages"], "completion": answer, "label": row["label"]}


def loss(folder: Path) -> float:
    """Mean loss of the trained adapter over the run's rows, one answer at a time.

    DPO's own; of KTO's rows the same with the reward of one answer, upside down for a bad one: without the moving
    baseline, which no single answer has.
    """
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    spec: dict[str, Any] = json.loads((folder / "spec.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(spec["model"])
    model: Any = AutoModelForCausalLM.from_pretrained(spec["model"], dtype=torch.float32)
    model = PeftModel.from_pretrained(model, str(folder / "adapter")).eval()

    def logp(messages: list[dict[str, str]], answer: str) -> Any:
        prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
        whole = [*messages, {"role": "assistant", "content": answer}]
        ids = torch.tensor([tokenizer.apply_chat_template(whole, return_dict=True)["input_ids"][: spec["max_length"]]])
        logps = torch.log_softmax(model(input_ids=ids).logits[0, :-1], dim=-1)
        return logps.gather(-1, ids[0, 1:, None])[len(prompt) - 1 :].sum()

    def reward(row: dict[str, Any], answer: str) -> Any:
        now = logp(row["messages"], answer)
        with model.disable_adapter():
            return spec["beta"] * (now - logp(row["messages"], answer))

    found = []
    with torch.inference_mode():
        for row in map(json.loads, (folder / "rows.jsonl").read_text().splitlines()):
            if spec["method"] == "kto":
                margin = reward(row, row["completion"]) * (1 if row["label"] else -1)
            else:
                margin = reward(row, row["chosen"]) - reward(row, row["rejected"])
            found.append(-float(torch.nn.functional.logsigmoid(margin)))
    return sum(found) / len(found)


if __name__ == "__main__":
    if sys.argv[2:] == ["loss"]:
        print(loss(Path(sys.argv[1])))
    else:
        main(Path(sys.argv[1]))
