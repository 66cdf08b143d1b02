"""The statement that a picture is AI-generated, as every card, JPEG, film and preview carries it."""

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
NOTICE = "AI-generated: pictures of this avatar were made by a neural network and show nothing that happened."
MARK = f"{NOTICE} digitalSourceType={SOURCE_TYPE}"  # in the metadata of every film and JPEG
