module github.com/imagefactory/imagefactory/test/parts

go 1.26.0
