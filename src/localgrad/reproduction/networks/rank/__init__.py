"""The rank of what each rule learns."""
