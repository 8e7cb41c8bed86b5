package planner

// Unknown holds the fields of a JSON object that this version does not know,
// as the text of an object; "" = none. They are written back.
type Unknown string
