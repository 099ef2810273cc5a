"""What others found of learning in linear recurrent networks, and what becomes of it under local rules."""
