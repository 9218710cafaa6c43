package config

import (
	"github.com/invopop/jsonschema"
)

// Schema returns the JSON schema of images.yaml for editors, generated from the Go types.
func Schema() *jsonschema.Schema {
	r := &jsonschema.Reflector{FieldNameTag: "yaml", ExpandedStruct: true, Anonymous: true, RequiredFromJSONSchemaTags: true}
	s := r.Reflect(&Config{})
	secret := r.Reflect(&WebhookSecret{}) // which no field has as its type
	secret.Version = ""
	s.Definitions["WebhookSecret"] = secret
	mapping := &jsonschema.Schema{
		Type: "object", Properties: s.Properties, Required: []string{"images"}, AdditionalProperties: jsonschema.FalseSchema,
	}
	for _, d := range s.Definitions {
		for p := d.Properties.Oldest(); p != nil; p = p.Next() {
			if texts := p.Value.AdditionalProperties; texts != nil && texts.Type == "string" {
				p.Value.AdditionalProperties = scalar() // such as a version among build arguments
			}
		}
	}
	list := &jsonschema.Schema{Type: "array", Items: &jsonschema.Schema{Ref: "#/$defs/Image"}}
	return &jsonschema.Schema{
		Version: jsonschema.Version, Title: "images.yaml of imagefactory",
		Description: "The enrolled images: a plain list, or a mapping with factory, defaults and images.",
		OneOf:       []*jsonschema.Schema{list, mapping}, Definitions: s.Definitions,
	}
}

// scalar returns the schema of a string that may be written without quotes even if it looks like a number or a boolean.
func scalar() *jsonschema.Schema {
	return &jsonschema.Schema{OneOf: []*jsonschema.Schema{{Type: "string"}, {Type: "number"}, {Type: "boolean"}}}
}

// JSONSchema returns the schema of the text form.
func (Duration) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{
		OneOf: []*jsonschema.Schema{
			{Type: "string", Pattern: `^(0|([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?)$`, MinLength: new(uint64(1))},
			{Type: "integer", Enum: []any{0}},
		},
		Examples: []any{"7d", "2w", "12h", 0},
	}
}

// JSONSchemaExtend adds the short form, a plain tag.
func (Tags) JSONSchemaExtend(s *jsonschema.Schema) {
	object := *s
	*s = jsonschema.Schema{
		OneOf:       []*jsonschema.Schema{{Type: "string", MinLength: new(uint64(1))}, {Type: "number"}, &object},
		Description: "A plain tag, or a rule that selects the tag to follow.",
	}
}

// JSONSchemaExtend adds plain numbers.
func (Quantities) JSONSchemaExtend(s *jsonschema.Schema) {
	for p := s.Properties.Oldest(); p != nil; p = p.Next() {
		p.Value = &jsonschema.Schema{OneOf: []*jsonschema.Schema{{Type: "string"}, {Type: "number"}}, Description: p.Value.Description}
	}
}
