"""The certificate authority: where it is kept, who signs, whom for, and how one takes another's place."""
