"""Language modelling on molecules, as SMILES: data, tokenizer, properties, metrics, pictures."""
